struct config$index {
    static const unsigned n_in = $n_in;
    static const unsigned shift = $shift;
    static const bool leaky = $leaky;
    static const bool bounded = $bounded;
    static const long long bound = ${bound}LL;
    typedef $integer_t integer_t;
    typedef bitwright::relu<config$index> element;
};
