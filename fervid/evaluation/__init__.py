"""From the predictions of many runs to tables, figures and statements that hold."""
