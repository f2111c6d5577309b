"""Everything with Matplotlib or HTML."""

import logging

# Without a home folder that it may write to, Matplotlib says in two long lines that it works all the same.
logging.getLogger("matplotlib").addFilter(lambda record: record.levelno > logging.WARNING)
