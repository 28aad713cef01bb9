"""The built-in corpus: talking faces with voices, made by the recipe itself so that it runs anywhere.

``plan`` says who appears in which clip, ``sentences`` what they say, ``voices`` how it sounds, ``sounds`` and ``rooms``
what is heard besides, ``faces`` how it looks (``face_model`` what a face is, ``head`` and ``hair`` how it is drawn on
the ``canvas``, ``relief`` its light and depth, ``film`` the camera), ``media`` how it is written, ``lists`` which lists
describe it, and ``make`` is the command.
"""
