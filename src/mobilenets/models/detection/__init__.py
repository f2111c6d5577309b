"""SSDLite: boxes, by the same bodies."""
