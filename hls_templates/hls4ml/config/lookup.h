struct config$index {
    static const unsigned n_in = $n_in;
    static const unsigned n_channels = $n_channels;
    static const unsigned n_constants = $n_constants;
    static const unsigned n_entries = $n_entries;
    static const bool per_channel = $per_channel;
    static const unsigned first = $first;
    typedef $place_t place_t;
    typedef $constant_t constant_t;
    typedef bitwright::lookup<config$index> element;
};
