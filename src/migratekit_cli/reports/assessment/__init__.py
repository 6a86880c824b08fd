"""An assessment in the forms that people and CI systems read; one module for each."""
