"""Contract suites: every implementation of an interface, and every plug-in, passes the same one."""
