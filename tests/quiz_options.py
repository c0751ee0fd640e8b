"""What the tests of quizzes share: the right option of a question, found by words of it."""

from align_edu.lab.quiz import load_questions


def right_option(number: str, words: str) -> str:
    """Return the right option of the one question of a notebook's quiz that has these words."""
    (question,) = (q for q in load_questions(number) if words in q.question)
    return next(option.text for option in question.options if option.right)
