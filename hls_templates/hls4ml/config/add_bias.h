struct config$index {
    static const unsigned n_in = $n_in;
    static const unsigned n_channels = $n_channels;
    static const unsigned n_constants = $n_constants;
    typedef $constant_t constant_t;
    typedef bitwright::add_bias<config$index> element;
};
