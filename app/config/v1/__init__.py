"""Files of Hector v1 (Go), read as files of this program: every move and every key without effect is told."""
