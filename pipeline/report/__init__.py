"""Looking at a mask dataset."""
