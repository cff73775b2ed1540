"""An exam for experimenters: questions with known answers for each of the four roles, and a scorecard. See docs/exam.md."""
