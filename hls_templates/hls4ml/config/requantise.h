struct config$index {
    static const unsigned n_in = $n_in;
    static const bool up = $up;
    static const bool clamped = $clamped;
    static const bool zeroed = $zeroed;
    static const long long lowest = ${lowest}LL;
    static const long long highest = ${highest}LL;
    typedef $exact_t exact_t;
    typedef $floor_t floor_t;
    typedef $nonnegative_t nonnegative_t;
    typedef $negative_t negative_t;
    typedef $fitted_t fitted_t;
    typedef bitwright::requantise<config$index> element;
};
