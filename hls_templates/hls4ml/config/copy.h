struct config$index {
    static const unsigned n_in = $n_in;
};
