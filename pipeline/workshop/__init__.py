"""How the small model, the drawn data and the published figures are made; not part of the installed package."""
