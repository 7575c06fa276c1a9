"""Run, score and checks make a measurement. It may import change and what lies below it."""
