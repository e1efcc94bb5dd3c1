/* The program `neap`. */
#include "app/app.h"

int main(int argc, char **argv)
{
    return np_app_main(argc, argv);
}
