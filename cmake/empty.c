/* Stands in for a layer that has no source yet; an object library needs one. */
typedef int np_empty_translation_unit;
