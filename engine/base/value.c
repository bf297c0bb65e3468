/* Values as text: see value.h. */
