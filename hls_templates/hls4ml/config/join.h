struct config$index {
    static const unsigned n_a = $n_a;
    static const unsigned n_b = $n_b;
    static const unsigned block_a = $block_a;
    static const unsigned block_b = $block_b;
    static const bool last_axis = $last_axis;
};
