"""One good call of every public function behind a door, a file a room, and what has no door.

Each file has

    EXAMPLES   {function: arguments by name}; each argument is spoiled in turn
    TAKEN      {(name of function, argument): kinds of bad values that it does take}, with a reason
    LEFT       {reason: names}, "module.function" without "tokensphere.": public functions that take
               numbers or arrays and have no door

so that a new function is tested for one line here.
"""
