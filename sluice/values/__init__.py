"""Values of a row, read one at a time: pure functions from text to a typed value or a fault.

They sit on the row path, so each has a fast path for the usual forms and leaves everything else to the
well-kept library that decides it; differential tests hold the two to one answer.
"""
