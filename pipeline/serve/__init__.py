"""The nets as a service and a web page, in one process."""
