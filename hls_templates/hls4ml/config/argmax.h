struct config$index {
    static const unsigned n_in = $n_in;
    static const unsigned n_channels = $n_channels;
    typedef $index_t index_t;
};
