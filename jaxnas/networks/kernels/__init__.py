"""Fast forms of the operations that networks are built from, each tested against a plain reference."""
