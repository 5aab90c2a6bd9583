"""Every error of ours, as one tree. The docstring is the message; `{names}` are filled from the arguments.

SluiceError
├── SettingsInvalid             the environment cannot be started from
├── Refused                     the caller asked for something that cannot be had   (a 4xx)
│   ├── FileRefused             what was uploaded is no usable contact file
│   ├── AuthenticationFailed, PermissionDenied, OrganizationMismatch
│   ├── NotFound, RateLimited, OptionInvalid, MappingInvalid, RulesInvalid
│   ├── TransitionRefused       (NotEnded, AlreadyUndone: what refuses an undo)
│   └── ...
├── RowRejected                 one row cannot be processed, the batch goes on
├── MessageUndecodable          one message cannot be decoded: a dead letter
│   └── MessageContradictory    its headers and its value disagree: nobody knows which batch it was
├── SchemaIncompatible          a schema change that would break readers
├── SourceChanged               the stored file is not the one that was counted
└── Unavailable                 a dependency is away: wait, nothing is lost         (a 503)
    ├── DatabaseUnavailable, BrokerUnavailable, StoreUnavailable, RegistryUnavailable
    └── ListUnavailable         a Do-Not-Call list cannot be consulted: nobody passes
"""

from __future__ import annotations

from typing import Any, ClassVar


class SluiceError(Exception):
    """Something went wrong in Sluice."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        template = " ".join((type(self).__doc__ or "").split())
        super().__init__(template.format(**facts) if facts else template)

    @property
    def message(self) -> str:
        """The sentence for a person, without NUL, which a name in it may have and no column can."""
        return str(self).replace("\0", "")


class SettingsInvalid(SluiceError):
    """{problem} Set it in the environment; the local stack writes its own settings to .sluice/env."""

    code = "SETTINGS_INVALID"


class Refused(SluiceError):
    """The request cannot be carried out."""

    code = "BAD_REQUEST"
    status = 400
    mendable: ClassVar[bool] = False
    """Whether a file may yet be taken as it is, opened as another sheet, in another encoding or dialect."""


class RequestInvalid(Refused):
    """{problem}"""

    code = "BAD_REQUEST"


class AuthenticationFailed(Refused):
    """{problem} Send a valid token as "Authorization: Bearer ..."."""

    code = "UNAUTHENTICATED"
    status = 401


class PermissionDenied(Refused):
    """Your role does not allow {permission} in this organization. Ask an administrator of it."""

    code = "FORBIDDEN"
    status = 403


class OrganizationMismatch(Refused):
    """The X-Organization-ID header names another organization than your token.
    Leave it out or make them agree."""

    code = "ORGANIZATION_MISMATCH"
    status = 403


class NotFound(Refused):
    """There is no {what} with this id in your organization."""

    code = "NOT_FOUND"
    status = 404


class TransitionRefused(Refused):
    """A job that is {current} cannot become {target}."""

    code = "CONFLICT"
    status = 409


class NotEnded(TransitionRefused):
    """The import is {state}, so it cannot be undone yet. Wait for its end, or cancel it first."""


class AlreadyUndone(TransitionRefused):
    """The import has been undone already. What was kept of it is listed under /v1/imports/{job_id}/undo."""


class OptionInvalid(Refused):
    """{field} cannot be "{value}"; use {allowed}."""

    code = "VALIDATION_ERROR"
    status = 422
    mendable = True


class MappingInvalid(Refused):
    """{problem} Correct the mapping, or leave it out to have the usual columns recognised."""

    code = "VALIDATION_ERROR"
    status = 422


class RulesInvalid(Refused):
    """{problem} Correct the rules, or leave them out."""

    code = "VALIDATION_ERROR"
    status = 422


class RateLimited(Refused):
    """Rate limit exceeded. Please try again later."""

    code = "RATE_LIMITED"
    status = 429


class FileRefused(Refused):
    """{problem}"""

    code = "FILE_REFUSED"
    status = 422


class FileEmpty(FileRefused):
    """The file is empty. Send a CSV file with a header line and at least one row."""

    code = "FILE_EMPTY"


class FileHasNoRows(FileRefused):
    """The file has a header line but no rows below it. Add at least one contact."""

    code = "FILE_HAS_NO_ROWS"


class FileHasNoColumn(FileRefused):
    """The file has no {field} column. Its columns are: {columns}. Rename one, or name it in the mapping."""

    code = "MISSING_COLUMN"


class FileTooLarge(FileRefused):
    """The file is larger than {limit_megabytes} MB. Split it and send the parts one after the other."""

    code = "FILE_TOO_LARGE"
    status = 413


class FileNotCsv(FileRefused):
    """The file is not a CSV file: {found}. Export it as CSV and send it again."""

    code = "UNSUPPORTED_FILE_TYPE"
    status = 415


class FileHasTooManyRows(FileRefused):
    """The file has more than {limit} rows. Split it and send the parts one after the other."""

    code = "TOO_MANY_ROWS"


class RowRejected(SluiceError):
    """The row cannot be processed: {problem}"""

    code = "ROW_REJECTED"


class MessageUndecodable(SluiceError):
    """The message cannot be decoded: {problem}"""

    code = "MESSAGE_UNDECODABLE"


class MessageContradictory(MessageUndecodable):
    """The message contradicts itself: its header {header} says other than its value."""


class SchemaIncompatible(SluiceError):
    """The schema of {subject} would break its readers: {problem} Add a new version of the event instead."""

    code = "SCHEMA_INCOMPATIBLE"


class MigrationRefused(SluiceError):
    """{problem}"""

    code = "MIGRATION_REFUSED"


class SourceChanged(SluiceError):
    """The stored file {key} is not the one that was uploaded: it was overwritten or removed.
    Upload it again."""

    code = "SOURCE_CHANGED"
    status = 409


class Unavailable(SluiceError):
    """A service that Sluice needs is away. Nothing was lost; try again shortly."""

    code = "SERVICE_UNAVAILABLE"
    status = 503


class InputLost(SluiceError):
    """Messages of {count} partitions were read and are in nobody's hands; the next start reads them again."""

    code = "INPUT_LOST"


class TopicMismatch(SluiceError):
    """{topic} has {held} partitions, not {wanted}: its keys would go elsewhere. Drain it and make it anew."""

    code = "TOPIC_MISMATCH"


class DatabaseUnavailable(Unavailable):
    """The database is away. Nothing was lost; try again shortly."""


class BrokerUnavailable(Unavailable):
    """The message broker is away. Nothing was lost; try again shortly."""


class StoreUnavailable(Unavailable):
    """The object store is away. Nothing was lost; try again shortly."""


class RegistryUnavailable(Unavailable):
    """The schema registry is away. Nothing was lost; try again shortly."""


class ListUnavailable(Unavailable):
    """A Do-Not-Call list cannot be consulted. Nobody passes until it can."""
