"""The part of PostgREST's dialect that games need: three tables and three functions under `/rest/v1`."""
