"""What comes from elsewhere: importers of files, and the inbox of signed webhooks."""
