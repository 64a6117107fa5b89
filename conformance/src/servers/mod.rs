//! Servers that a test starts for itself on loopback and that end with it.
