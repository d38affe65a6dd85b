struct config$index {
    static const unsigned n_a = $n_a;
    static const unsigned n_b = $n_b;
    static const unsigned n_out = $n_out;
    static const int n_axes = $n_axes;
    static const int size[n_axes];
    static const int stride_a[n_axes];
    static const int stride_b[n_axes];
    static const int depth_a = $depth_a;
    static const int depth_b = $depth_b;
    typedef bitwright::$element element;
};
const int config$index::size[] = $size;
const int config$index::stride_a[] = $stride_a;
const int config$index::stride_b[] = $stride_b;
