#!/usr/bin/env bash
# Run by the PostgreSQL image on its first start: the roles that the migrations grant to, and the
# database of the schema registry. psql quotes the passwords.
set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set api="$API_DATABASE_PASSWORD" \
    --set sink="$SINK_DATABASE_PASSWORD" \
    --set registry="$REGISTRY_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE sluice_api LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'api';
CREATE ROLE sluice_sink LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE BYPASSRLS PASSWORD :'sink';
CREATE ROLE registry LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'registry';
CREATE DATABASE registry OWNER registry;
SQL
