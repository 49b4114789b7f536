"""Operations on files: those that other processes use at the same time, checksums, and compressed files."""
