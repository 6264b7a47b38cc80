"""Files to a server and back. Commands decide what; files and client know how."""
