"""Generated messages of both protocols; scripts/generate writes this folder."""
