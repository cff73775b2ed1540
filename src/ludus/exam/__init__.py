"""An exam for experimenters: questions with known answers for four roles, and a scorecard. See docs/exam.md."""
