"""An exam for experimenters: questions with known answers for five roles, and a scorecard. See docs/exam.md."""
