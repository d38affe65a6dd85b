struct config$index {
    static const unsigned n_in = $n_in;
    static const unsigned n_channels = $n_channels;
    static const unsigned n_constants = $n_constants;
    static const bool per_channel = $per_channel;
    typedef $constant_t constant_t;
    typedef bitwright::scale<config$index> element;
};
