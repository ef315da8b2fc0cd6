"""Stage `report`: a page that tells what was found."""
