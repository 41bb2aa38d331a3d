"""What people see of a run: the table in the terminal, `report.html`, and a page for each problem on demand."""
