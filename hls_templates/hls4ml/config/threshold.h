struct config$index {
    static const unsigned n_in = $n_in;
    static const unsigned n_channels = $n_channels;
    static const unsigned n_constants = $n_constants;
    static const unsigned n_thresholds = $n_thresholds;
    static const bool per_channel = $per_channel;
    static const long long offset = ${offset}LL;
    typedef $constant_t constant_t;
    typedef $integer_t integer_t;
    typedef bitwright::threshold<config$index> element;
};
