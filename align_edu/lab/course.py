"""The notebooks of the course, in order."""

from dataclasses import dataclass

from align_edu.io import InputError


@dataclass(frozen=True)
class Lesson:
    """One notebook.

    Parameters
    ----------
    file : its name in `notebooks/`, without the ending.
    question : what it answers.
    paper : the part of the paper it teaches.
    minutes : what one run of all its cells takes on two CPU cores, measured; None while planned.
    """

    file: str
    question: str
    paper: str
    minutes: float | None = None

    @property
    def number(self) -> str:
        """The two digits at the start of its name."""
        return self.file[:2]

    @property
    def title(self) -> str:
        """Its name in words.

        >>> find_lesson("08").title
        'Training on toy CC-3M'
        """
        words = self.file[3:].replace("_", " ").capitalize().replace("Alt text", "Alt-text")
        for spelling in ("BERT", "EfficientNet", "CC-3M", "TPU", "CLIP", "ALIGN", "SigLIP"):
            plain = spelling.replace("-", "")
            words = " ".join(spelling if w.lower() == plain.lower() else w for w in words.split())
        return words


COURSE = (
    Lesson("00_start_here", "What is ALIGN, and what will I build?", "Figure 1, Section 4.1", 0.5),
    Lesson(
        "01_alt_text_is_noisy", "What does text from the web look like?", "Section 3, Figure 2", 0.3
    ),
    Lesson("02_filtering_by_frequency", "Which noise can counting alone remove?", "Section 3", 0.5),
    Lesson("03_words_to_vectors_with_bert", "How does a text become a vector?", "Section 4.1", 0.5),
    Lesson(
        "04_pixels_to_vectors_with_efficientnet",
        "How does a picture become a vector?",
        "Section 4.1",
        0.5,
    ),
    Lesson("05_one_shared_space", "How can a picture and a text be compared?", "Section 4.1", 0.5),
    Lesson(
        "06_the_contrastive_loss_by_hand",
        "What does the loss pull together, and what apart?",
        "Section 4.1, eq. (1) and eq. (2)",
        0.5,
    ),
    Lesson(
        "07_learning_the_temperature", "Why is the temperature crucial?", "Sections 4.1, 6.1", 0.5
    ),
    Lesson(
        "08_training_on_toy_cc3m",
        "What does training look like?",
        "Section 5",
        1.3,
    ),
    Lesson("09_finding_images_with_words", "How good is the search?", "Sections 4.2, 5.1", 0.5),
    Lesson(
        "10_naming_images_without_labels",
        "Can it name what it was not taught?",
        "Sections 4.3, 5.2",
        0.8,
    ),
    Lesson(
        "11_adding_and_subtracting_meaning",
        "What is a picture plus a word?",
        "Section 7, Figure 5",
        0.5,
    ),
    Lesson("12_ablations", "Which parts matter?", "Section 6.1, Table 8"),
    Lesson("13_noise_against_scale", "Can more data make up for noise?", "Section 6.2, Table 9"),
    Lesson("14_bigger_towers", "Which tower should grow?", "Section 6.1, Figure 3, Table 7"),
    Lesson(
        "15_bigger_batches",
        "How does a small machine train with a big batch?",
        "Section 5",
        0.7,
    ),
    Lesson("16_full_scale_on_tpu", "What does the paper's run cost?", "Section 5", 0.8),
    Lesson("17_the_released_weights", "What do the released weights know?", "Section 5.1", 0.5),
    Lesson("18_clip_align_siglip", "What separates ALIGN from CLIP and SigLIP?", "Section 2"),
    Lesson("19_limits_and_harms", "What should not be done with it?", "Section 9"),
    Lesson("20_questions", "What have I learned?", "all sections"),
)


def find_lesson(number: str) -> Lesson:
    """Return the lesson with that number.

    Raises InputError for a number that no notebook has.

    >>> find_lesson("00").file
    '00_start_here'
    """
    for lesson in COURSE:
        if lesson.number == number:
            return lesson
    raise InputError(f"notebook {number!r} does not exist; choose one of 00 to {COURSE[-1].number}")
