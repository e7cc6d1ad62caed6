//! The shape of the house: layers, walls, file length, module docs.
