"""Fast paths of the recurrences, and the plain forms that they are checked against."""
