struct config$index {
    static const unsigned n_constants = $n_constants;
    typedef $constant_t constant_t;
};
