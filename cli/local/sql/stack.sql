-- What the local stack makes in a new PostgreSQL: the roles that the migrations grant to, and the
-- database of the schema registry. Names and passwords are the stack's own, quoted by PostgreSQL itself.

-- answers --
-- The smallest question that needs a working server.
SELECT 1

-- role_statement --
-- CREATE ROLE takes no parameters, so the server quotes them into the statement. Repeated on every start:
-- the password of an existing role is set again.
SELECT format(
    '%s ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE %s PASSWORD %L',
    CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = $1) THEN 'ALTER' ELSE 'CREATE' END,
    $1::text,
    CASE WHEN $3 THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
    $2::text
)

-- database_statement --
-- As above; nothing when the database is there.
SELECT format('CREATE DATABASE %I OWNER %I', $1::text, $2::text)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = $1)
