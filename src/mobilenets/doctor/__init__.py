"""What is wrong with data: copies of pictures, within a folder and across its halves."""
