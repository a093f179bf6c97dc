"""One experiment per file, in the families of ``pretrain`` and of the library's rooms.

Its name, with dashes, is the claim's; its first line begins with its lecture.
"""
