struct config$index {
    static const unsigned n_in = $n_in;
    static const int shift = $shift;
    static const bitwright::rounding rounding = bitwright::rounding::$rounding;
    static const bitwright::overflow overflow = bitwright::overflow::$overflow;
    static const int width = $width;
    static const bool is_signed = $is_signed;
    static const bool full_range = $full_range;
    static const long long lowest = ${lowest}LL;
    static const long long highest = ${highest}LL;
    typedef $integer_t integer_t;
    typedef bitwright::requantise<config$index> element;
};
