"""Operations on files that other processes use at the same time."""
