struct config$index {
    static const unsigned n_in = $n_in;
    static const unsigned n_channels = $n_channels;
    static const unsigned k = $k;
};
