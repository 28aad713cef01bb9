"""The built-in corpus: talking faces with voices, made by the recipe itself so that it runs anywhere.

``plan`` says who appears in which clip, ``sentences`` what they say, ``voices`` how it sounds, ``sounds`` and ``rooms``
what is heard besides, ``faces`` (with ``face_model``) how it looks, ``media`` how it is written, ``lists`` which lists
describe it, and ``make`` is the command.
"""
