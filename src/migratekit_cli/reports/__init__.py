"""Reports as files: pages of HTML by the templates in templates/, and the forms that CI systems read."""
