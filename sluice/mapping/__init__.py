"""From a file's own columns to contact fields.

`stored` is what the caller chose, as it travels with the job; `plan` what that means for one header;
`reading` what it makes of rows; `judging` what is wrong with them, by the fields' rules and by the caller's
own (`column_rules`); `proposals` is what a caller might choose. All of it is pure, so the preview before an
import and the import itself are one code.
"""
