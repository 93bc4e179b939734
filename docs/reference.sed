# How Doxygen is given the headers: `INPUT_FILTER` of Doxyfile.
# Users do not write the inline namespace.
s/rondo::inline v0/rondo/
# An address, and no name to link to.
s/::ffff:/\\&/
# It takes a specialisation of a template that it has not seen for a mistake.
/^\/\/\/ Takes the format specification/d
/^template <>$/{
    N
    /fmt::formatter/{
        :more
        N
        /\n};$/!b more
        d
    }
}
